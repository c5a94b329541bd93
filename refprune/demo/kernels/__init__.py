"""Three small kernels, one right and two wrong, for the oracle to judge. They import nothing of refprune."""
