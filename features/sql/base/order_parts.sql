-- One row per customer, invoice and day: a twentieth of the lines. Everything but products and
-- cancellations is computed from these rows. They still hold the future: `past_orders` cuts it off.
--
-- An invoice may go on for days. As-of dates begin at midnight, so each sees whole parts of it. A
-- number that comes back after more than `invoice_days` is a new invoice: some shops count anew.
WITH parts AS (
    SELECT customer_id, invoice_id, CAST(invoiced_at AS DATE) AS day,
           min(invoiced_at) AS begun_at, arg_min(country, (invoiced_at, country)) AS country,
           CAST(sum(cents) AS BIGINT) AS cents,
           CAST(sum(lines) AS BIGINT) AS lines, CAST(sum(units) AS BIGINT) AS units
    FROM moments
    GROUP BY ALL
),
-- Windows look back only: what they give is what was known on the part's day.
marked AS (
    SELECT *, coalesce(
        day - lag(day) OVER in_order > CAST(getvariable('invoice_days') AS INTEGER), true
    ) AS is_first
    FROM parts
    WINDOW in_order AS (PARTITION BY customer_id, invoice_id ORDER BY day)
),
numbered AS (
    SELECT *, max(begun_at) FILTER (is_first) OVER so_far AS ordered_at
    FROM marked
    WINDOW so_far AS (PARTITION BY customer_id, invoice_id ORDER BY day)
),
invoices AS (
    SELECT *,
           sum(cents) OVER so_far AS cents_so_far,
           first_value(country IGNORE NULLS) OVER so_far AS country_so_far
    FROM numbered
    WINDOW so_far AS (PARTITION BY customer_id, invoice_id, ordered_at ORDER BY day)
)
SELECT customer_id, day, CAST(ordered_at AS DATE) AS order_day,
       CAST(day = order_day AS INTEGER) AS orders,  -- an invoice is counted at its first part
       -- calendar months, each a bit of sixteen: a year touches at most 13
       1 << CAST((12 * year(order_day) + month(order_day)) % 16 AS INTEGER) AS month_bit,
       order_day - lag(order_day) OVER in_order AS gap,  -- 0 on one day; null at the very first
       row_number() OVER in_order AS place,
       cents, CAST(cents_so_far AS BIGINT) AS cents_so_far, lines, units,
       country_so_far AS country
FROM invoices
WINDOW in_order AS (PARTITION BY customer_id ORDER BY ordered_at, invoice_id, day)
