"""AMD SEV-SNP: what its reports say, who signs them, and what a policy demands of them."""
