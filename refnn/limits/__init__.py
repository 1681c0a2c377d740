"""Where softmax and its like overflow, underflow and lose their digits: thresholds by rule and by search."""
