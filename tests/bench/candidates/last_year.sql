-- More of the season: a wider window a year ago, and the quarter before it.
SELECT row_id,
       sum(orders) FILTER (days_ago BETWEEN 246 AND 395) AS around_the_season,
       sum(orders) FILTER (days_ago BETWEEN 366 AND 455) AS before_the_season,
       sum(orders) FILTER (days_ago BETWEEN 336 AND 365) AS first_month_of_the_season,
       sum(orders) FILTER (days_ago > 365) AS orders_older
FROM past_orders
GROUP BY row_id
