-- The products of the customers of one pass, before the as-of date.
SELECT row_id, products, coalesce(get_bit(seen_365d, date_number), 0) = 1 AS in_365d
FROM spine_part JOIN product_counts USING (customer_id)
WHERE seen_from <= date_number
