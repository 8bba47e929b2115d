# To be written.
# See the plan.
