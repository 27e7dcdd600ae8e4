"""Small models of the rules that lose work when they are wrong, searched exhaustively."""
