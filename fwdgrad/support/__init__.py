"""What every room may use: containers of arrays, files that appear whole, notices, pictures in notebooks."""
