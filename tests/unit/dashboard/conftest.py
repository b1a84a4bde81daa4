from tests.unit.features import conftest

sae = conftest.sae  # the same small SAE
