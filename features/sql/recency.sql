SELECT customer_id, as_of,
       as_of - max(day) AS recency_days,
       as_of - min(day) AS tenure_days
FROM past_orders
GROUP BY customer_id, as_of
