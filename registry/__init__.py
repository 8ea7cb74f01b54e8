"""The model bundle, who is champion, the gate, and the tree of runs in MLflow."""
