-- Product mix: what is bought again, what is new, how much hangs on one product.
WITH products AS (
    SELECT row_id, product_id, count(DISTINCT CAST(invoiced_at AS DATE)) AS days,
           min(as_of - CAST(invoiced_at AS DATE)) AS last_ago,
           max(as_of - CAST(invoiced_at AS DATE)) AS first_ago, sum(quantity * unit_price) AS value
    FROM spine_part JOIN transactions USING (customer_id)
    WHERE quantity > 0 AND invoiced_at < as_of
    GROUP BY row_id, product_id
)
SELECT row_id, avg(CASE WHEN days > 1 THEN 1 ELSE 0 END) AS bought_again_share,
       avg(days) AS days_per_product, count(*) FILTER (last_ago <= 90) AS products_90d,
       count(*) FILTER (first_ago <= 90) AS new_products_90d, max(value) / sum(value) AS top_share
FROM products
GROUP BY row_id
