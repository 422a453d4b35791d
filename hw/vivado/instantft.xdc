# The core has no pins of its own; its clock comes constrained from the processor system.
# NOT VERIFIED. Should timing fail, look at the adder trees of lanes.sv and head.sv first.
