WITH products AS (
    SELECT customer_id, as_of,
           count(DISTINCT product_id) FILTER (WHERE invoiced_at >= as_of - INTERVAL 365 DAY) AS products_365d,
           count(DISTINCT product_id) AS products_total
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
