"""Built-in networks: what each line of `launcher/spec/catalogue/models.py` builds."""
