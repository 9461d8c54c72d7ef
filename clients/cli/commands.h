/* The commands: argv[0] is the command's name; the result is the exit status. */
#pragma once

int command_notebook(int argc, char **argv);
int command_run(int argc, char **argv);
int command_exec(int argc, char **argv);
int command_shell(int argc, char **argv);
int command_ps(int argc, char **argv);
int command_logs(int argc, char **argv);
int command_stdin(int argc, char **argv);
int command_kill(int argc, char **argv);
int command_ls(int argc, char **argv);
int command_rm(int argc, char **argv);
int command_context(int argc, char **argv);
int command_cp(int argc, char **argv);
int command_watch(int argc, char **argv);
int command_git(int argc, char **argv);
int command_bucket(int argc, char **argv);
int command_create(int argc, char **argv);
int command_set(int argc, char **argv);
int command_info(int argc, char **argv);
int command_port(int argc, char **argv);
int command_egress(int argc, char **argv);
int command_secret(int argc, char **argv);
int command_handler(int argc, char **argv);
int command_image(int argc, char **argv);
int command_completion(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_kernelspec(int argc, char **argv);
int command_kernel(int argc, char **argv);
