-- What the feature files may read: past_orders, past_lines and log_start. Each ends at the as-of
-- date: a row of the future is not there to be used. `spine` is one row per customer and as-of
-- date; `transactions` the valid rows. Money is counted in whole hundredths, so that a sum does not
-- depend on the order of its rows.

-- previous_at: when this customer last bought (or cancelled) the product before this line.
CREATE OR REPLACE TEMP TABLE lines AS
SELECT customer_id, invoice_id, product_id, invoiced_at, country, quantity,
       CAST(round(quantity * unit_price * 100) AS BIGINT) AS cents,
       lag(invoiced_at) OVER (
           PARTITION BY customer_id, product_id, quantity > 0 ORDER BY invoiced_at
       ) AS previous_at
FROM transactions;

-- Lines of one invoice nearly always share their minute: this makes the join below small.
CREATE OR REPLACE TEMP TABLE moments AS
SELECT customer_id, invoice_id, invoiced_at, country,
       sum(cents) AS cents, count(*) AS lines, sum(quantity) AS units
FROM lines WHERE quantity > 0
GROUP BY ALL;

-- Sales invoices before the as-of date. Of an invoice that goes on after it, the part before it.
CREATE OR REPLACE TEMP TABLE past_orders AS
SELECT spine.customer_id, spine.as_of, invoice_id,
       min(invoiced_at) AS ordered_at, CAST(min(invoiced_at) AS DATE) AS day,
       arg_min(country, (invoiced_at, country)) AS country,
       sum(cents) AS cents, sum(lines) AS lines, sum(units) AS units
FROM spine JOIN moments USING (customer_id)
WHERE invoiced_at < as_of
GROUP BY ALL;

-- Sales and cancelled lines before the as-of date.
CREATE OR REPLACE TEMP VIEW past_lines AS
SELECT spine.customer_id, spine.as_of, invoiced_at, quantity, cents, previous_at
FROM spine JOIN lines USING (customer_id)
WHERE invoiced_at < as_of;

-- The day of the log's first sale, anyone's, as known at the as-of date.
CREATE OR REPLACE TEMP VIEW log_start AS
SELECT as_of, CAST(min(invoiced_at) AS DATE) AS first_day
FROM (SELECT DISTINCT as_of FROM spine) JOIN moments ON invoiced_at < as_of
GROUP BY as_of;
