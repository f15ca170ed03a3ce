"""Registry exports of the Rubin Data Butler: reading, importing and writing them."""
