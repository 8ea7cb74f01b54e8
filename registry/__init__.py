"""The model bundle, who is champion, the gate, the ledger of decisions, and runs in MLflow."""
