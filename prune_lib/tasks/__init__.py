"""What a network is trained for: data, loss and metric. Listed here by the names that rows use."""
