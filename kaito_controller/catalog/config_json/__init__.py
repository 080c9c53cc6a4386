"""A model's architecture from the decoded `config.json` of its repository: numbers only, no code of the model's."""
