"""What is worth telling people: which alerts there are, when they begin and end, and what is said.

Pure: `machine` moves alerts by what was seen, `grouping` says what is to be told to whom, `message`
how it reads; the `of_*` files say what is wrong. Sending is for the shells.
"""
