"""The gates through open synthesis tools: cells by block, the longest path, place and route."""
