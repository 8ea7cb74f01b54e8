-- Counts and values that fade: half as much for every 30, 90 or 240 days ago.
SELECT row_id,
       sum(orders * pow(2, -days_ago / 30)) AS faded_orders_30d,
       sum(orders * pow(2, -days_ago / 90)) AS faded_orders_90d,
       sum(orders * pow(2, -days_ago / 240)) AS faded_orders_240d,
       sum(cents * pow(2, -days_ago / 30)) AS faded_revenue_30d,
       sum(cents * pow(2, -days_ago / 90)) AS faded_revenue_90d,
       sum(cents * pow(2, -days_ago / 240)) AS faded_revenue_240d
FROM past_orders
GROUP BY row_id
