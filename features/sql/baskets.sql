SELECT row_id,
       sum(lines) / sum(orders) AS lines_per_order,
       sum(units) / sum(lines) AS units_per_line,
       sum(cents) / sum(units) / 100 AS unit_price_mean
FROM past_orders
GROUP BY row_id
