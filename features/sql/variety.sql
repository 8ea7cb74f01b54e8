SELECT row_id,
       coalesce(sum(products) FILTER (in_365d), 0) AS products_365d,
       sum(products) AS products_total
FROM past_products
GROUP BY row_id
