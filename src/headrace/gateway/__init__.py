"""Where does it run? A local engine or, later, a provider over HTTP: one contract for both."""
