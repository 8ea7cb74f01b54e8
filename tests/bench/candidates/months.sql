-- Activity vector: invoices in each of the last twelve months of 30 days.
SELECT row_id,
       coalesce(sum(orders) FILTER (days_ago <= 30), 0) AS month_1,
       coalesce(sum(orders) FILTER (days_ago BETWEEN 31 AND 60), 0) AS month_2,
       coalesce(sum(orders) FILTER (days_ago BETWEEN 61 AND 90), 0) AS month_3,
       coalesce(sum(orders) FILTER (days_ago BETWEEN 91 AND 120), 0) AS month_4,
       coalesce(sum(orders) FILTER (days_ago BETWEEN 121 AND 150), 0) AS month_5,
       coalesce(sum(orders) FILTER (days_ago BETWEEN 151 AND 180), 0) AS month_6,
       coalesce(sum(orders) FILTER (days_ago BETWEEN 181 AND 210), 0) AS month_7,
       coalesce(sum(orders) FILTER (days_ago BETWEEN 211 AND 240), 0) AS month_8,
       coalesce(sum(orders) FILTER (days_ago BETWEEN 241 AND 270), 0) AS month_9,
       coalesce(sum(orders) FILTER (days_ago BETWEEN 271 AND 300), 0) AS month_10,
       coalesce(sum(orders) FILTER (days_ago BETWEEN 301 AND 330), 0) AS month_11,
       coalesce(sum(orders) FILTER (days_ago BETWEEN 331 AND 360), 0) AS month_12
FROM past_orders
GROUP BY row_id
