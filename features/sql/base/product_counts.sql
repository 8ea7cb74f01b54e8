-- Products with the same bits are the same to every as-of date: a count is enough.
WITH products AS (
    SELECT customer_id, product_id,
           bit_or(seen_365d) AS seen_365d, min(seen_from) AS seen_from
    FROM transactions JOIN log_days ON day = CAST(invoiced_at AS DATE)
    WHERE quantity > 0
    GROUP BY customer_id, product_id
)
SELECT customer_id, seen_365d, seen_from, count(*) AS products
FROM products
GROUP BY ALL
