-- How long ago the second, third, fifth and tenth last purchase day was; how regular the gaps are.
WITH days AS (
    SELECT row_id, list_sort(list(days_ago)) AS ago, max(gap) AS longest,
           stddev(gap) / avg(gap) AS irregular, min(days_ago) / max(gap) AS of_longest
    FROM past_orders WHERE gap IS NULL OR gap > 0
    GROUP BY row_id
)
SELECT row_id, ago[2] AS second_last, ago[3] AS third_last, ago[5] AS fifth_last,
       ago[10] AS tenth_last, longest, irregular, of_longest
FROM days
