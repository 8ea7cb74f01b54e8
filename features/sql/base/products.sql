-- Which products a customer had bought, without comparing all lines with all as-of dates: each day
-- of the log gets a bit per as-of date that sees it, and the bits of a product's days are put
-- together. A product bought on ten days still counts once.
--
-- With the as-of dates 0: 2024-03-01, 1: 2024-06-01 and 2: 2025-05-01:
--
--     anna bought P1 on     seen_365d   seen_from   because
--     2024-02-10            110         0           every date sees it; of 2 it is 446 days ago
--     2024-05-20            011         1           0 comes before it; of 2 it is 346 days ago
--     both together         111         0           bit_or and min: in the last 365 days of every
--                                                   date, and in products_total from date 0 on
CREATE OR REPLACE TEMP TABLE log_days AS
WITH dates AS (SELECT DISTINCT as_of, date_number FROM questions),
none AS (SELECT bitstring('0', CAST(greatest(count(*), 1) AS INTEGER)) AS bits FROM dates)
SELECT day,
       bit_or(set_bit(bits, date_number, 1)) FILTER (day >= as_of - 365) AS seen_365d,
       min(date_number) AS seen_from  -- and by every later date
FROM (SELECT DISTINCT CAST(invoiced_at AS DATE) AS day FROM transactions)
JOIN dates ON day < as_of CROSS JOIN none
GROUP BY day;

-- Products with the same bits are the same to every as-of date: a count is enough.
CREATE OR REPLACE TEMP TABLE product_counts AS
WITH products AS (
    SELECT customer_id, product_id,
           bit_or(seen_365d) AS seen_365d, min(seen_from) AS seen_from
    FROM transactions JOIN log_days ON day = CAST(invoiced_at AS DATE)
    WHERE quantity > 0
    GROUP BY customer_id, product_id
)
SELECT customer_id, seen_365d, seen_from, count(*) AS products
FROM products
GROUP BY ALL;

CREATE OR REPLACE TEMP VIEW past_products AS
SELECT row_id, products, coalesce(get_bit(seen_365d, date_number), 0) = 1 AS in_365d
FROM asked JOIN product_counts USING (customer_id)
WHERE seen_from <= date_number;
