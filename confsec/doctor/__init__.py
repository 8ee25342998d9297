"""Looking for what is wrong: with the packages, with the machine, with a service. `confsec doctor` prints it."""
