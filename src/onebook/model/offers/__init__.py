"""What a stay costs: rate plans, taxes, coupons, policies, and the quote that explains them. Pure, in integer minor units."""
