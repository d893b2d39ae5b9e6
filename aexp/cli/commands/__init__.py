"""The commands as click knows them: their names, arguments, options and help.

What carries a command out is imported when it is called: DBOS, SQLAlchemy and pydantic take a
second, which neither help nor completion has to wait for.
"""
