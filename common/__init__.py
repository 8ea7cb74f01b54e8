"""What every package uses and no library offers. It imports no other package of the project."""
