-- Invoice lines summed by customer, invoice and minute: lines of one invoice nearly always share
-- theirs, so this is the one pass over all lines. Money is counted in whole hundredths, so that a
-- sum does not depend on the order of its rows.
SELECT customer_id, invoice_id, invoiced_at, country,
       CAST(sum(CAST(round(quantity * unit_price * 100) AS BIGINT)) AS BIGINT) AS cents,
       count(*) AS lines, CAST(sum(quantity) AS BIGINT) AS units
FROM transactions WHERE quantity > 0
GROUP BY ALL
