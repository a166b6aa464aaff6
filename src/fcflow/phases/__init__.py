"""The steps of a synchronisation, one module each; `fcflow.synchronizer` composes them."""
