"""The web console at /admin: pages for operators, put together from what the REST API says.

A page asks the API, in this process, with the visitor's session in place of a key. So the console can do
nothing that the API would not let that key do, and every act is audited as the API's.
"""
