SELECT row_id, min(days_ago) AS recency_days, max(days_ago) AS tenure_days
FROM past_orders
GROUP BY row_id
