-- The questions of one pass. A large log takes several, so that it never lies in memory once per
-- as-of date.
SELECT * FROM questions
WHERE row_id BETWEEN getvariable('first_row') AND getvariable('last_row')
