def check(region):
    pass
