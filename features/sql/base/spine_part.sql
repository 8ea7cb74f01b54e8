-- The rows of the spine in one pass. A large log takes several, so that it never lies in memory
-- once per as-of date.
SELECT * FROM numbered_spine
WHERE row_id BETWEEN getvariable('first_row') AND getvariable('last_row')
