"""The page on which a digit is drawn and recognised."""
