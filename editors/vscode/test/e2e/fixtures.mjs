// What is typed into. `‸` is the cursor.

export const QUERY = `"""Users of the shop."""

import sqlite3


def find_user(db: sqlite3.Connection, name: str):
    """Return the row of the user called \`name\`, or None."""
    cursor = db.cursor()
    cursor.execute‸
    row = cursor.fetchone()
    return row
`;

// Several lines to come: a body that a small model can write.
export const BODY = `"""Settings of the shop."""

import json
import os


class Settings:
    """The settings, read from a file and written back."""

    def __init__(self, path):
        self.path = path
        self.values = {}

    def load(self):
        """Read the file, if it is there, and check every value."""‸
`;

export const FILES = {
  'find_user.py': QUERY.replace('‸', ''),
  'settings.py': BODY.replace('‸', ''),
  'notes.md': '# Notes\n',
  '.env': 'API_KEY=\n',
};
