"""What runs when: Prefect flows and tasks. Wiring only, no SQL, no maths, no model code."""
