"""The page: add your own things, ask about a picture, find them in a folder, correct answers."""
