"""From a mask to objects, their measurements, and the files they go out in. numpy, scipy and scikit-image; no Django.

mask -> objects.find -> Objects -> table.measure -> Table -> exporters
"""
