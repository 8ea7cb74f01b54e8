-- A product is counted at its first line, or its first line of the window: the count of distinct
-- products, without comparing millions of codes.
WITH products AS (
    SELECT customer_id, as_of,
           count(*) FILTER (
               WHERE invoiced_at >= as_of - INTERVAL 365 DAY
                 AND (previous_at IS NULL OR previous_at < as_of - INTERVAL 365 DAY)
           ) AS products_365d,
           count(*) FILTER (WHERE previous_at IS NULL) AS products_total
    FROM past_lines WHERE quantity > 0
    GROUP BY customer_id, as_of
),
baskets AS (
    SELECT customer_id, as_of,
           sum(lines) / count(*) AS lines_per_order,
           sum(units) / sum(lines) AS units_per_line,
           sum(cents) / sum(units) / 100 AS unit_price_mean
    FROM past_orders
    GROUP BY customer_id, as_of
)
SELECT * FROM products JOIN baskets USING (customer_id, as_of)
