"""Mixture of experts: a router chooses some of many equal MLPs for each token, as in Granite."""
