"""Finding the nearest faces: indexes of one group behind one protocol, and the catalog that keeps them current."""
