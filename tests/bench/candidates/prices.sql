-- Prices and quantities of the lines: typical (geometric mean), spread, largest.
SELECT row_id, exp(avg(ln(unit_price))) AS typical_price, stddev(ln(unit_price)) AS price_spread,
       max(unit_price) AS highest_price, exp(avg(ln(quantity))) AS typical_quantity,
       max(quantity) AS largest_quantity,
       avg(CASE WHEN quantity >= 12 THEN 1 ELSE 0 END) AS bulk_share
FROM spine_part JOIN transactions USING (customer_id)
WHERE quantity > 0 AND invoiced_at < as_of
GROUP BY row_id
