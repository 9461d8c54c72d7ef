# Both sides of the output ring: init consumes, interpreters produce.
cellbox_module(cbx_outring SOURCES ${CMAKE_CURRENT_LIST_DIR}/outring.c)
