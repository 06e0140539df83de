"""Files whose exact bytes are part of the product, and the models that they are made from."""
