"""What is done to data sets: inspected, checked, converted."""
